"""Reading and writing files: text, tables, label files, hashes of content, atomic writes."""
