"""What a person sees: measurements and samples as text, HTML, a picture, a plotly figure and the live panel."""
