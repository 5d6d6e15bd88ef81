"""New plugins: small installable packages that work as they are written."""
