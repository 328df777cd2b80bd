"""From numbers to matplotlib figures and terminal tables; no statistics here."""
