"""The files of a new service, made from templates, and what removes a service again.

May be imported by `meshmart`. Start reading in `service`.
"""
