"""Where rows come from: files, folders, archives of the hub, databases, objects of a caller; every format's parser.

May import tables; gives one Arrow table in which each row knows its file and line."""
