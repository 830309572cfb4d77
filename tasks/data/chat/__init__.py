"""Conversations: rows of any common format become messages, a chat template renders them, and the tokens of the chosen
turns are trained. May import `tasks.data.rows` and `tasks.data.tokens`."""
