"""What the services share: storage, migrations, money, validation, paging, token keys. Below all of them."""
