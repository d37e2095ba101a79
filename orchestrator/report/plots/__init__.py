"""The plots of a report, as SVG by matplotlib: light in a file, as the page is in a page."""
