"""The commands: check, call, write; one file a command."""
