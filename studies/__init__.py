"""Tables of papers and recipes of bundles, made with sqp and no part of it: `python -m studies.NAME --help`."""
