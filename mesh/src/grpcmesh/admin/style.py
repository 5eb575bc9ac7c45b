"""The style sheet of the admin page."""

STYLE = """
:root {
  color-scheme: light dark; --bg: #f6f7f9; --card: #fff; --ink: #1c2430; --soft: #667085;
  --line: #e4e7ec; --good: #12805c; --good-bg: #e3f5ee; --bad: #b42318; --bad-bg: #fdeceb;
  --warn: #9a6700; --warn-bg: #fdf3d8; --bar: #4c7df0;
}
@media (prefers-color-scheme: dark) {
  :root {
    --bg: #12161c; --card: #1a2029; --ink: #e6e9ef; --soft: #98a2b3;
    --line: #2b3340; --good: #5fd3a8; --good-bg: #173a2f; --bad: #ff9a90;
    --bad-bg: #45201d; --warn: #f3c969; --warn-bg: #40341a; --bar: #6b93f5;
  }
}
* { box-sizing: border-box; }
body { margin: 0; background: var(--bg); color: var(--ink); font: 15px/1.5 system-ui,sans-serif; }
main { max-width: 1080px; margin: 0 auto; padding: 32px 20px 64px; }
header { display: flex; align-items: baseline; gap: 14px; flex-wrap: wrap; margin-bottom: 20px; }
h1 { font-size: 26px; margin: 0; }
h1 small { font-weight: 400; color: var(--soft); }
nav { margin-left: auto; display: flex; gap: 16px; }
a { color: var(--bar); text-decoration: none; }
a:hover { text-decoration: underline; }
section {
  background: var(--card); border: 1px solid var(--line); border-radius: 12px;
  padding: 18px 20px; margin: 14px 0;
}
h2 { font-size: 17px; margin: 0 0 10px; display: flex; gap: 10px; align-items: baseline; }
h2 span { font-weight: 400; color: var(--soft); font-size: 14px; }
dl { display: flex; flex-wrap: wrap; gap: 12px 44px; margin: 0; }
dt { color: var(--soft); font-size: 13px; }
dd { margin: 0; font-variant-numeric: tabular-nums; overflow-wrap: anywhere; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
th {
  font-weight: 500; color: var(--soft); font-size: 13px; text-align: right;
  padding: 4px 10px; border-bottom: 1px solid var(--line); white-space: nowrap;
}
td { padding: 7px 10px; text-align: right; border-bottom: 1px solid var(--line); }
tr:last-child td { border-bottom: 0; }
th:first-child,td:first-child { text-align: left; padding-left: 0; }
.pill {
  display: inline-block; border-radius: 99px; padding: 0 10px; font-size: 13px;
  background: var(--warn-bg); color: var(--warn);
}
.pill.good { background: var(--good-bg); color: var(--good); }
.pill.bad { background: var(--bad-bg); color: var(--bad); }
.share {
  display: inline-block; width: 120px; height: 8px; border-radius: 4px;
  background: var(--line); margin-right: 8px; vertical-align: middle;
}
.share i { display: block; height: 8px; border-radius: 4px; background: var(--bar); }
p.none { color: var(--soft); margin: 0; }
"""
