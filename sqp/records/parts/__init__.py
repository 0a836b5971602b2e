"""A run in parts: each claims a folder of its own, `status` tells what is missing, `join` makes one record set of them."""
