"""Figures as they come: outcomes, and how much of a figure is the instrument's own."""
