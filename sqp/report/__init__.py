"""What people read: tables, figures, overlays, the terminal summary, the HTML page."""
