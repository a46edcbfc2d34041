"""The figures of the book: one function a figure, a tidy table in, matplotlib Axes out."""
