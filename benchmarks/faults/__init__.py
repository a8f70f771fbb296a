"""Trials of all that goes wrong for people: killed runs, full disks, files from strangers, odd flags, odd pictures."""
