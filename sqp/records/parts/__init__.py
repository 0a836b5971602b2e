"""A run in parts: each claims a folder, `status` tells what is missing, `join` makes one record set of them."""
