"""Components of this project as a Pulumi package, for programs in any language: docs/components.md."""
