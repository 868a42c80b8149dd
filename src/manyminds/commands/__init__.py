"""The commands of the command line, a file for those that belong together. Nothing heavy is imported until one runs."""
