"""Sources of rows: files, folders, hub datasets, databases, a caller's objects; and one parser per format.

May import tables; returns one Arrow table with the file and line of each row."""
