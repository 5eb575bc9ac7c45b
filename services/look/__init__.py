"""The style sheet, with its design tokens, and the logo, which all pages of Meshmart share.

May be imported by `services.storefront`, `local.traces`, `meshmart.console`. Start reading in `files`.
"""
