"""Plans as a reader sees them: text, tables, pictures and pages of one plan."""
