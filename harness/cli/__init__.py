"""The commands of `shopbench`, a file each."""
