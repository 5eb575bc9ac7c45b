"""What the services share: storage, migrations, money, validation, paging, token keys. Below all of them.

May be imported by `services`, `meshmart`. Start reading in `db`.
"""
