"""The sections of a config, a file each: fields, their meaning and limits."""
