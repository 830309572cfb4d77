"""How a config is carried out: checked before anything is spent, estimated, linted, executed.

May import everything below the stages; only flows import it."""
