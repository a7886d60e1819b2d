"""The commands, their options and their terminal views."""
