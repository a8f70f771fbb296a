"""Trials of everything that goes wrong for people: killed runs, full disks, files from strangers, odd flags and pictures."""
