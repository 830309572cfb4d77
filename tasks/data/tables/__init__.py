"""Arrow tables as files: written in equal bytes, mapped, spilled to disk, exported; types made plain."""
