"""One module per section of a report: what is measured there as tables, plots, sentences and lines for a mail."""
