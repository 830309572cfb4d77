"""What a row of each task is: columns by role, labels, words, questions; checked and numbered."""
