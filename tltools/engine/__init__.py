"""The only floor that imports torch; it runs in worker processes, never in the web server."""
