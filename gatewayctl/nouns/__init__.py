"""A module for each noun, with a function for each verb."""
