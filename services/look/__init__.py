"""The look that the pages of Meshmart share: the style sheet with its tokens, and the logo.

May be imported by `services.storefront`, `local.traces`, `meshmart.console`. Start reading in `files`.
"""
