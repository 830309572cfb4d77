"""How weights become a module: where a base lies, how it is loaded, which heads and adapters it gets."""
