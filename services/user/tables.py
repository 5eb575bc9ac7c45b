"""The tables of the user service. `migrations` creates them."""

from sqlalchemy import BigInteger, Boolean, Column, Integer, MetaData, Table, Text

metadata = MetaData()

account = Table(
    "account",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("name", Text),
    Column("email", Text),
    Column("status", Integer),
    Column("age", Integer),
    #: A JSON array.
    Column("roles", Text),
    Column("created_at", BigInteger),
    Column("password_hash", Text),
    #: Name and email, folded; each unique.
    Column("name_key", Text),
    Column("email_key", Text),
    #: A JSON object, and when it was first saved.
    Column("profile", Text),
    Column("profile_at", BigInteger),
)
#: Tokens that were issued before families were chains. Nothing is added any more.
refresh_token = Table(
    "refresh_token",
    metadata,
    Column("digest", Text, primary_key=True),
    Column("family", Text),
    Column("user_id", Integer),
    Column("expires_at", BigInteger),
    Column("spent", Boolean),
)
login_failure = Table(
    "login_failure",
    metadata,
    #: A digest of account and address, or of an address.
    Column("key", Text, primary_key=True),
    Column("count", Integer),
    Column("last_at", BigInteger),
)
login_session = Table(
    "login_session",
    metadata,
    Column("family", Text, primary_key=True),
    Column("user_id", Integer),
    Column("key", Text),
    Column("number", Integer),
    Column("digest", Text),
    Column("rotated_at", BigInteger),
    Column("expires_at", BigInteger),
)
revocation = Table(
    "revocation",
    metadata,
    Column("id", Integer, primary_key=True),
    #: The user or the session that is revoked; the other is 0 or "".
    Column("user_id", Integer),
    Column("session", Text),
    Column("issued_until", BigInteger),
    #: When the tokens have expired by themselves.
    Column("expires_at", BigInteger),
)
#: Recovery codes for forgotten passwords: requests for them, and codes that were sent.
recovery = Table(
    "recovery",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("user_id", Integer),
    #: The digest of a code that was sent. NULL marks a request, which is only counted.
    Column("digest", Text),
    Column("expires_at", BigInteger),
)
