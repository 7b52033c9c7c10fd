"""The language: every word that crosses a topic, and nothing that acts."""
