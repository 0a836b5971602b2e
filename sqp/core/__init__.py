"""What every room stands on: errors, types, seeds, files, geometry."""
