"""One dataclass a command, one file a dataclass; nothing heavy is imported here, so that `sqp --help` is quick."""
