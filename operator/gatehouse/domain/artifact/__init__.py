"""An artifact in object storage: its listing, layout, manifest, configuration, model card and signature."""
