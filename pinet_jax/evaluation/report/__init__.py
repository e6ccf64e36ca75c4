"""The report: one HTML file with figures, charts and a gallery, and nothing fetched from anywhere.

`gallery` chooses images and gathers their poses, `charts` draws curves and bars, and `page` fills
`report.html` with them.
"""
