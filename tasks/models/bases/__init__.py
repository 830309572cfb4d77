"""Where a base model lies (folder, package, hub, live module) and what is read of it: files, tokenizer, limits."""
