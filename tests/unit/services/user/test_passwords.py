from services.user.passwords import Cost, ScryptPasswords

CHEAP = Cost(log2_n=4, r=1, p=1)


async def test_a_password_fits_its_own_hash_only() -> None:
    passwords = ScryptPasswords(CHEAP)
    hashed = await passwords.hash("correct horse")
    assert await passwords.verify("correct horse", hashed)
    assert not await passwords.verify("Correct horse", hashed)
    assert not await passwords.verify("correct horse", None)
    assert "correct" not in hashed


async def test_equal_passwords_have_different_hashes() -> None:
    passwords = ScryptPasswords(CHEAP)
    assert await passwords.hash("same") != await passwords.hash("same")


async def test_a_hash_is_verified_at_the_cost_it_was_made_with() -> None:
    hashed = await ScryptPasswords(CHEAP).hash("p")
    assert await ScryptPasswords(Cost(log2_n=5, r=1, p=1)).verify("p", hashed)


async def test_a_password_fits_however_its_characters_are_composed() -> None:
    passwords = ScryptPasswords(CHEAP)
    assert await passwords.verify("cafe\u0301", await passwords.hash("caf\u00e9"))


def test_the_default_is_an_owasp_minimum() -> None:
    assert Cost() == Cost(log2_n=14, r=8, p=5)
