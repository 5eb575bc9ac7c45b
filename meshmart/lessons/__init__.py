"""Six guided experiments on the running shop: predict, break, see, explain.

May be imported by `meshmart`. Start reading in `experiments`.
"""
