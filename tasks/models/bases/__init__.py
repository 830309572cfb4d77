"""Base models: find them (folder, package, hub, live module), and read their files, tokenizer and limits."""
