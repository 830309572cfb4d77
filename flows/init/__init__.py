"""Writes a first config for given data: task, columns, lengths, splits and training by what the rows are like."""
