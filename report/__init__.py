"""Pages of pictures and numbers in one HTML file: the report of a run, the contact sheet of a folder."""
