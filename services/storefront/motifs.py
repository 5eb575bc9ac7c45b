"""The drawings of `art`: SVG on a canvas of 240 by 180, in the colours of a palette.

`$m` main, `$d` dark, `$l` light, `$p` the one bright accent. A drawing is found by the words of a
product's tags and name; the first of WORDS that fits decides.
"""

from collections.abc import Mapping

#: Words of tags and names, and the drawing they ask for; the specific before the general.
WORDS: tuple[tuple[str, str], ...] = (
    ("earbuds", "earbuds"), ("headphones", "headphones"), ("recorder", "recorder"), ("laptop", "laptop"),
    ("monitor", "monitor"), ("keyboard", "keyboard"), ("mouse", "mouse"), ("reader", "reader"),
    ("power", "battery"), ("camera", "camera"), ("heating", "dial"), ("watch", "watch"),
    ("sneakers", "shoe"), ("shoes", "shoe"), ("jacket", "jacket"), ("jeans", "jeans"), ("sweater", "sweater"),
    ("linen shirt", "buttons"), ("shirt", "shirt"), ("socks", "socks"), ("hat", "beanie"), ("belt", "belt"),
    ("skillet", "pan"), ("knife", "knife"), ("kettlebell", "kettlebell"), ("kettle", "kettle"),
    ("grinder", "grinder"), ("pour-over", "carafe"), ("coffee", "mug"), ("table-tennis", "bats"),
    ("dinner", "plates"), ("bedding", "bed"), ("lamp", "lamp"), ("shelf", "shelf"), ("candle", "candle"),
    ("clock", "clock"), ("backpack", "backpack"), ("tent", "tent"), ("sleeping", "sleeping-bag"),
    ("yoga", "mat"), ("helmet", "helmet"), ("chalk", "pouch"), ("oars", "oars"),
)  # fmt: skip

#: What a category shows when no word fits.
FALLBACK: Mapping[str, str] = {
    "electronics": "laptop",
    "clothing": "shirt",
    "books": "book",
    "home": "mug",
    "sports": "ball",
    "other": "parcel",
}

DRAWINGS: Mapping[str, str] = {
    "laptop": '<rect x="68" y="46" width="104" height="70" rx="7" fill="$d"/><rect x="75" y="53" width="90" '
    'height="57" rx="2" fill="$m"/><path d="M75 100l32-26 22 18 15-12 21 16v14H75z" fill="$l" opacity=".4"/>'
    '<circle cx="147" cy="67" r="7" fill="$p"/><path d="M52 116h136l-6 12a5 5 0 0 1-5 3H63a5 5 0 0 1-5-3z" '
    'fill="$l"/><rect x="103" y="116" width="34" height="5" rx="2.500" fill="$d" opacity=".3"/>',
    "headphones": '<path d="M75 108V94a45 45 0 0 1 90 0v14" fill="none" stroke="$d" stroke-width="9"/>'
    '<rect x="79" y="98" width="14" height="38" rx="7" fill="$l"/><rect x="147" y="98" width="14" height="38" '
    'rx="7" fill="$l"/><rect x="60" y="94" width="26" height="46" rx="12" fill="$m"/><rect x="154" y="94" '
    'width="26" height="46" rx="12" fill="$m"/><circle cx="67" cy="117" r="4" fill="$p"/>',
    "earbuds": '<circle cx="96" cy="58" r="14" fill="$m"/><rect x="91" y="60" width="10" height="32" rx="5" '
    'fill="$m"/><circle cx="92" cy="56" r="5" fill="$d"/><circle cx="144" cy="58" r="14" fill="$m"/>'
    '<rect x="139" y="60" width="10" height="32" rx="5" fill="$m"/><circle cx="148" cy="56" r="5" fill="$d"/>'
    '<rect x="76" y="88" width="88" height="54" rx="24" fill="$l"/><path d="M78 110h84" stroke="$d" '
    'stroke-width="2" opacity=".25"/><circle cx="120" cy="124" r="3.500" fill="$p"/>',
    "monitor": '<path d="M107 116h26l5 24h-36z" fill="$d"/><rect x="88" y="136" width="64" height="7" rx="3.500" '
    'fill="$d"/><rect x="54" y="38" width="132" height="82" rx="7" fill="$d"/><rect x="61" y="45" width="118" '
    'height="68" rx="2" fill="$m"/><circle cx="151" cy="64" r="9" fill="$p"/><path d="M61 113V94l34-24 26 22 '
    '18-13 40 27v7z" fill="$l" opacity=".4"/>',
    "keyboard": '<rect x="46" y="68" width="148" height="64" rx="10" fill="$d"/><path d="M56 83h128" '
    'stroke="$l" stroke-width="12" stroke-dasharray="12 2.500"/><path d="M56 100h128" stroke="$m" '
    'stroke-width="12" stroke-dasharray="12 2.500"/><path d="M56 117h26M158 117h26" stroke="$m" '
    'stroke-width="12"/><path d="M85 117h70" stroke="$l" stroke-width="12"/><path d="M56 83h12" stroke="$p" '
    'stroke-width="12"/><path d="M120 68c0-22 26-10 26-34" fill="none" stroke="$d" stroke-width="3"/>',
    "mouse": '<path d="M80 140c-10-52 8-96 42-96 32 0 46 30 42 64-2 18-6 32-14 32z" fill="$m"/>'
    '<path d="M122 44c-18 12-22 40-20 62 14 6 44 4 62-4 2-30-12-58-42-58z" fill="$l"/><rect x="117" y="60" '
    'width="10" height="26" rx="5" fill="$p"/><path d="M121 60V46M121 86v20" stroke="$d" stroke-width="2" '
    'opacity=".4"/>',
    "reader": '<rect x="80" y="34" width="80" height="112" rx="10" fill="$d"/><rect x="88" y="42" width="64" '
    'height="88" rx="2" fill="$l"/><path d="M97 58h30M97 72h46M97 82h46M97 92h40M97 102h46M97 112h24" '
    'stroke="$m" stroke-width="4" stroke-linecap="round"/><circle cx="120" cy="138" r="3.500" fill="$p"/>',
    "battery": '<rect x="90" y="38" width="60" height="106" rx="15" fill="$m"/><rect x="90" y="38" width="60" '
    'height="26" rx="13" fill="$d"/><path d="M125 72l-19 30h12l-4 24 20-33h-13z" fill="$p"/><path d="M104 51h'
    '14M128 51h8" stroke="$l" stroke-width="4" stroke-linecap="round"/>',
    "recorder": '<rect x="97" y="40" width="16" height="34" rx="8" fill="$l" transform="rotate(-18 105 60)"/>'
    '<rect x="127" y="40" width="16" height="34" rx="8" fill="$l" transform="rotate(18 135 60)"/><rect x="94" '
    'y="64" width="52" height="82" rx="9" fill="$d"/><rect x="101" y="72" width="38" height="26" rx="3" '
    'fill="$m"/><path d="M106 85h4v-6 12-6h5v-9 18-9h5v-5 10-5h5v-8 16-8h8" fill="none" stroke="$l" '
    'stroke-width="2"/><circle cx="120" cy="120" r="11" fill="$p"/>',
    "camera": '<rect x="92" y="48" width="30" height="16" rx="5" fill="$p"/><rect x="62" y="58" width="116" '
    'height="82" rx="16" fill="$d"/><rect x="74" y="70" width="34" height="26" rx="4" fill="$m"/><circle '
    'cx="139" cy="99" r="29" fill="$l"/><circle cx="139" cy="99" r="21" fill="$m"/><circle cx="139" cy="99" '
    'r="10" fill="$d"/><circle cx="132" cy="92" r="4" fill="$l"/>',
    "dial": '<circle cx="120" cy="92" r="54" fill="$l"/><circle cx="120" cy="92" r="44" fill="$d"/><path d="M91 '
    '121a41 41 0 1 1 58 0" fill="none" stroke="$m" stroke-width="6" stroke-linecap="round"/><path d="M91 121a41 '
    '41 0 0 1 10-65" fill="none" stroke="$p" stroke-width="6" stroke-linecap="round"/><text x="122" y="102" '
    'font-family="system-ui,sans-serif" font-size="30" font-weight="600" text-anchor="middle" fill="$l">21°</text>',
    "watch": '<path d="M104 30h32l4 38h-40zM100 116h40l-4 38h-32z" fill="$m"/><rect x="82" y="52" width="76" '
    'height="80" rx="24" fill="$d"/><circle cx="120" cy="92" r="29" fill="$l"/><path d="M120 92V73M120 92l13 9" '
    'stroke="$d" stroke-width="4" stroke-linecap="round"/><circle cx="120" cy="92" r="4" fill="$p"/><rect x="157" '
    'y="84" width="6" height="16" rx="3" fill="$p"/>',
    "shirt": '<path d="M94 42L56 62l14 34 16-7v55h68V89l16 7 14-34-38-20c-8 14-44 14-52 0z" fill="$m"/>'
    '<path d="M94 42c8 14 44 14 52 0l-6-3c-8 9-32 9-40 0z" fill="$d"/><rect x="128" y="80" width="16" height="18" '
    'rx="2" fill="$l" opacity=".5"/><path d="M128 85h16" stroke="$p" stroke-width="3"/>',
    "buttons": '<path d="M96 40L58 60l14 36 14-6v54h68V90l14 6 14-36-38-20-24 12z" fill="$l"/><path d="M96 40l24 '
    '20 24-20-8-4-16 8-16-8z" fill="$m"/><path d="M120 60v84" stroke="$m" stroke-width="2.500"/><path d="M100 66v'
    '76M140 66v76" stroke="$m" stroke-width="1.500" opacity=".45"/><g fill="$p"><circle cx="125" cy="76" r="2.800"/>'
    '<circle cx="125" cy="95" r="2.800"/><circle cx="125" cy="114" r="2.800"/><circle cx="125" cy="133" r="2.800"/></g>',
    "jacket": '<path d="M98 42L60 64l-8 76h24l8-40v46h72v-46l8 40h24l-8-76-38-22c-10 10-34 10-44 0z" fill="$m"/>'
    '<path d="M98 42c-4-14 48-14 44 0-4 14-10 22-22 26-12-4-18-12-22-26z" fill="$d"/><path d="M120 68v78" '
    'stroke="$d" stroke-width="3"/><path d="M94 112l16-4v22H94zM146 112l-16-4v22h16z" fill="$d" opacity=".35"/>'
    '<rect x="117" y="76" width="6" height="11" rx="2" fill="$p"/>',
    "jeans": '<path d="M86 38h68l8 108h-32l-10-66-10 66H78z" fill="$m"/><path d="M86 38h68l1 13H85z" fill="$d"/>'
    '<path d="M88 54c2 12 8 16 18 16M152 54c-2 12-8 16-18 16M120 52v28" fill="none" stroke="$p" '
    'stroke-width="2.500" stroke-dasharray="4 3"/><path d="M79 136h32M129 136h33" stroke="$l" stroke-width="6" '
    'opacity=".7"/>',
    "sweater": '<path d="M96 42L62 60 48 136h22l14-44v52h72V92l14 44h22l-14-76-34-18c-10 10-38 10-48 0z" '
    'fill="$m"/><path d="M84 132h72v12H84zM48 128h24l-3 10H46zM192 128h-24l3 10h23z" fill="$d"/><path d="M66 72'
    'l9 8 9-8 9 8 9-8 9 8 9-8 9 8 9-8 9 8 9-8 9 8 9-8" fill="none" stroke="$l" stroke-width="4"/><path d="M84 '
    '94h72" stroke="$p" stroke-width="4" stroke-dasharray="6 6"/>',
    "socks": '<path d="M82 40h34v60c0 10-6 16-14 22l-20 16c-14 10-34-4-26-20 4-8 26-14 26-26z" fill="$m"/><path '
    'd="M82 40h34v14H82z" fill="$l"/><path d="M82 62h34" stroke="$p" stroke-width="6"/><path d="M140 40h34v60c0 '
    '10-6 16-14 22l-20 16c-14 10-34-4-26-20 4-8 26-14 26-26z" fill="$d"/><path d="M140 40h34v14h-34z" fill="$l"/>'
    '<path d="M140 62h34" stroke="$p" stroke-width="6"/>',
    "beanie": '<circle cx="120" cy="40" r="13" fill="$p"/><path d="M70 120c-4-50 20-76 50-76s54 26 50 76z" '
    'fill="$m"/><path d="M96 116c-4-34 4-58 24-72M144 116c4-34-4-58-24-72M120 116V46" fill="none" stroke="$d" '
    'stroke-width="3" opacity=".35"/><rect x="62" y="112" width="116" height="28" rx="12" fill="$d"/><path d="M76 '
    '116v20M92 116v20M108 116v20M124 116v20M140 116v20M156 116v20" stroke="$m" stroke-width="3" opacity=".6"/>',
    "belt": '<path d="M120 48c44 0 66 16 66 42s-22 42-66 42-66-16-66-42 22-42 66-42z" fill="none" stroke="$m" '
    'stroke-width="20"/><path d="M120 48c44 0 66 16 66 42s-22 42-66 42-66-16-66-42 22-42 66-42z" fill="none" '
    'stroke="$l" stroke-width="1.500" stroke-dasharray="5 4"/><rect x="102" y="116" width="38" height="32" rx="5" '
    'fill="none" stroke="$p" stroke-width="7"/><path d="M120 132h24" stroke="$p" stroke-width="5"/>',
    "shoe": '<path d="M54 66c10 8 24 8 34-4l44 30c10 6 52 6 54 26v10H54c-4-22-4-42 0-62z" fill="$m"/><path d="M54 '
    '66c10 8 24 8 34-4l16 11c-8 16-34 22-52 18z" fill="$d"/><path d="M108 76l-10 14M120 84l-10 14M132 92l-9 13" '
    'stroke="$l" stroke-width="4" stroke-linecap="round"/><path d="M50 122h138v12c0 4-3 7-7 7H58c-4 0-7-3-8-7z" '
    'fill="$l"/><path d="M64 104c26 8 60 6 76 14" fill="none" stroke="$p" stroke-width="5" stroke-linecap="round"/>',
    "pan": '<rect x="150" y="84" width="62" height="14" rx="7" fill="$d"/><circle cx="202" cy="91" r="3" fill="$l"/>'
    '<circle cx="106" cy="92" r="54" fill="$d"/><circle cx="106" cy="92" r="45" fill="$m"/><path d="M80 84c6-20 '
    '40-22 52-4 10 16-2 38-24 38-20 0-34-14-28-34z" fill="$l"/><circle cx="108" cy="92" r="13" fill="$p"/>',
    "knife": '<g transform="rotate(-24 120 92)"><path d="M40 84h102v26c-46 2-86-4-102-26z" fill="$l"/><path d="M40 '
    '84c22 16 60 20 102 20v6c-46 2-86-4-102-26z" fill="$m" opacity=".45"/><rect x="140" y="82" width="10" '
    'height="26" rx="2" fill="$p"/><rect x="150" y="83" width="52" height="22" rx="9" fill="$d"/><circle cx="164" '
    'cy="94" r="2.500" fill="$l"/><circle cx="188" cy="94" r="2.500" fill="$l"/></g>',
    "kettle": '<path d="M84 78c-22 4-14 40-40 38" fill="none" stroke="$m" stroke-width="8" stroke-linecap="round" '
    'transform="matrix(1 0 0 -1 0 194)"/><path d="M154 70h26v50h-22" fill="none" stroke="$d" stroke-width="9" '
    'stroke-linejoin="round"/><path d="M92 62h56l16 80H76z" fill="$m"/><path d="M100 54h40l8 10H92z" fill="$d"/>'
    '<circle cx="120" cy="48" r="7" fill="$p"/><path d="M96 76l-8 52" stroke="$l" stroke-width="5" opacity=".5" '
    'stroke-linecap="round"/>',
    "grinder": '<path d="M120 46h44" stroke="$d" stroke-width="6" stroke-linecap="round"/><circle cx="166" cy="42" '
    'r="8" fill="$p"/><path d="M92 56h56l-8 30h-40z" fill="$l"/><path d="M114 42h12v14h-12z" fill="$d"/><rect '
    'x="98" y="84" width="44" height="12" fill="$d"/><path d="M92 96h56l6 50H86z" fill="$m"/><rect x="104" y="114" '
    'width="32" height="22" rx="3" fill="$d"/><circle cx="120" cy="125" r="4" fill="$p"/>',
    "carafe": '<path d="M92 38h56l-20 34h-16z" fill="$l"/><path d="M86 34h68l-4 9H90z" fill="$m"/><path d="M110 '
    '72h20l28 66c2 4-1 8-6 8H88c-5 0-8-4-6-8z" fill="$l" opacity=".75"/><path d="M97 104h46l15 34c2 4-1 8-6 8H88c'
    '-5 0-8-4-6-8z" fill="$d"/><rect x="106" y="66" width="28" height="10" rx="4" fill="$p"/><path d="M120 78v20" '
    'stroke="$d" stroke-width="3" stroke-dasharray="5 4"/>',
    "mug": '<path d="M148 78h14a16 16 0 0 1 0 36h-14" fill="none" stroke="$d" stroke-width="9"/><path d="M76 64h76v'
    '58c0 12-9 20-20 20H96c-11 0-20-8-20-20z" fill="$m"/><path d="M76 88h76v10H76z" fill="$p"/><path d="M100 52c-6'
    '-8 6-12 0-22M124 52c-6-8 6-12 0-22" fill="none" stroke="$d" stroke-width="4" stroke-linecap="round" '
    'opacity=".35"/>',
    "bats": '<g transform="rotate(-28 100 90)"><rect x="92" y="104" width="16" height="44" rx="6" fill="$p"/>'
    '<circle cx="100" cy="74" r="36" fill="$m"/><path d="M78 103c12 9 32 9 44 0l-6 12H84z" fill="$d"/></g><g '
    'transform="rotate(30 142 92)"><rect x="136" y="108" width="15" height="40" rx="6" fill="$p"/><circle cx="143" '
    'cy="80" r="32" fill="$d"/><path d="M123 105c11 8 29 8 40 0l-6 11h-28z" fill="$m"/></g><circle cx="180" cy="132" '
    'r="10" fill="$l"/>',
    "plates": '<ellipse cx="120" cy="128" rx="70" ry="16" fill="$d"/><ellipse cx="120" cy="121" rx="70" ry="16" '
    'fill="$m"/><ellipse cx="120" cy="112" rx="54" ry="12" fill="$d"/><ellipse cx="120" cy="106" rx="54" ry="12" '
    'fill="$l"/><path d="M82 68h76c0 24-16 38-38 38s-38-14-38-38z" fill="$m"/><ellipse cx="120" cy="68" rx="38" '
    'ry="9" fill="$d"/><ellipse cx="120" cy="69" rx="30" ry="5.500" fill="$p"/>',
    "bed": '<rect x="48" y="48" width="144" height="62" rx="14" fill="$d"/><rect x="62" y="74" width="52" height="32" '
    'rx="12" fill="$l"/><rect x="126" y="74" width="52" height="32" rx="12" fill="$l"/><path d="M48 100h144v34H48z" '
    'fill="$m"/><path d="M48 100h144v13H48z" fill="$l" opacity=".7"/><path d="M56 134h10v12H56zM174 134h10v12h-10z" '
    'fill="$d"/><path d="M48 124h144" stroke="$p" stroke-width="3"/>',
    "lamp": '<path d="M94 52l52-14 22 42-92 16z" fill="$m"/><path d="M78 96l88-16-20 50H98z" fill="$p" opacity=".3"/>'
    '<path d="M120 44c0-18 46-10 52 10l6 80" fill="none" stroke="$d" stroke-width="6"/><ellipse cx="178" cy="140" '
    'rx="26" ry="7" fill="$d"/><circle cx="122" cy="90" r="10" fill="$p"/>',
    "shelf": '<rect x="44" y="112" width="152" height="11" rx="3" fill="$m"/><path d="M62 123v16M178 123v16" stroke="$d" '
    'stroke-width="5"/><rect x="58" y="62" width="14" height="50" fill="$d"/><rect x="74" y="70" width="11" height="42" '
    'fill="$p"/><rect x="87" y="56" width="16" height="56" fill="$l"/><path d="M91 64h8M91 70h8" stroke="$d" '
    'stroke-width="2"/><rect x="108" y="68" width="12" height="45" fill="$m" transform="rotate(12 114 112)"/><path '
    'd="M142 90h34l-5 22h-24z" fill="$d"/><path d="M159 90c-20-8-16-30-10-32 8 6 12 18 10 32 0-18 8-28 18-30 4 12-2 '
    '28-18 30z" fill="$m"/>',
    "candle": '<path d="M120 30c12 14 12 26 0 30-12-4-12-16 0-30z" fill="$p"/><path d="M120 56v14" stroke="$d" '
    'stroke-width="3"/><rect x="84" y="68" width="72" height="78" rx="8" fill="$l"/><path d="M84 84h72v54c0 4-4 8-8 8H92'
    'c-4 0-8-4-8-8z" fill="$m"/><rect x="100" y="98" width="40" height="28" rx="3" fill="$l"/><path d="M108 108h24M112 '
    '116h16" stroke="$d" stroke-width="3"/>',
    "clock": '<path d="M80 34h80v74c0 24-18 42-40 42s-40-18-40-42z" fill="$m"/><path d="M74 30h92v10H74z" fill="$d"/>'
    '<circle cx="120" cy="78" r="30" fill="$l"/><path d="M120 78V58M120 78l12 8" stroke="$d" stroke-width="4" '
    'stroke-linecap="round"/><circle cx="120" cy="78" r="3.500" fill="$p"/><path d="M120 110v20" stroke="$d" '
    'stroke-width="3"/><circle cx="120" cy="133" r="8" fill="$p"/>',
    "backpack": '<path d="M98 50c0-22 44-22 44 0" fill="none" stroke="$d" stroke-width="7"/><rect x="64" y="84" '
    'width="20" height="48" rx="9" fill="$d"/><rect x="156" y="84" width="20" height="48" rx="9" fill="$d"/><path '
    'd="M78 76c0-20 16-30 42-30s42 10 42 30v62c0 5-4 9-9 9H87c-5 0-9-4-9-9z" fill="$m"/><path d="M78 78c20 12 64 12 '
    '84 0v10c-20 12-64 12-84 0z" fill="$d"/><rect x="94" y="104" width="52" height="32" rx="7" fill="$l" '
    'opacity=".55"/><rect x="112" y="84" width="16" height="20" rx="4" fill="$p"/>',
    "tent": '<path d="M120 42L42 140h156z" fill="$m"/><path d="M120 42l34 98H86z" fill="$d"/><path d="M120 58l-20 82h'
    '20z" fill="$l" opacity=".8"/><path d="M120 42l-6-10M120 42l6-10M42 140l-12 6M198 140l12 6" stroke="$p" '
    'stroke-width="4" stroke-linecap="round"/><circle cx="186" cy="52" r="11" fill="$l"/>',
    "sleeping-bag": '<g transform="rotate(-14 120 92)"><path d="M92 40c0-14 56-14 56 0 8 8 14 20 12 32l-12 68c-2 10-54 '
    '10-56 0L80 72c-2-12 4-24 12-32z" fill="$m"/><ellipse cx="120" cy="58" rx="27" ry="22" fill="$d"/><rect x="102" '
    'y="48" width="36" height="22" rx="10" fill="$l"/><path d="M84 92h72M88 112h64M92 130h56" stroke="$d" '
    'stroke-width="3" opacity=".35"/><path d="M120 80v62" stroke="$p" stroke-width="4"/></g>',
    "mat": '<path d="M62 118h112c10 0 18 6 18 14s-8 12-18 12H62z" fill="$d"/><rect x="46" y="62" width="132" height="58" '
    'rx="6" fill="$m" transform="skewX(-10) translate(16 0)"/><circle cx="62" cy="130" r="16" fill="$m"/><circle '
    'cx="62" cy="130" r="10" fill="none" stroke="$l" stroke-width="3"/><circle cx="62" cy="130" r="4" fill="$l"/><path '
    'd="M86 76h84M80 104h84" stroke="$p" stroke-width="3" stroke-dasharray="10 7"/>',
    "kettlebell": '<path d="M98 84c-16-44 60-44 44 0" fill="none" stroke="$d" stroke-width="13"/><circle cx="120" '
    'cy="106" r="40" fill="$m"/><path d="M92 134h56v8a5 5 0 0 1-5 5H97a5 5 0 0 1-5-5z" fill="$m"/><circle cx="120" '
    'cy="106" r="22" fill="$l"/><text x="120" y="114" font-family="system-ui,sans-serif" font-size="22" '
    'font-weight="700" text-anchor="middle" fill="$d">16</text><path d="M90 90a34 34 0 0 1 12-14" stroke="$p" '
    'stroke-width="5" fill="none" stroke-linecap="round"/>',
    "helmet": '<path d="M50 112c-2-44 34-70 74-66 38 4 60 30 66 62l-14 10H62c-8 0-12-2-12-6z" fill="$m"/><path d="M96 58'
    'c-18 12-24 28-26 44h18c2-18 8-32 22-46zM136 52c-10 14-14 32-14 50h18c0-18 4-34 14-44zM168 66c-6 12-8 24-8 36h16'
    'c0-12 0-20 2-26z" fill="$d"/><path d="M72 118c6 20 20 28 36 26M160 118c-8 18-24 26-52 26" fill="none" stroke="$d" '
    'stroke-width="5"/><rect x="100" y="138" width="16" height="11" rx="3" fill="$p"/><path d="M54 108h132" '
    'stroke="$l" stroke-width="5"/>',
    "pouch": '<path d="M82 66h76l10 66c1 8-5 14-12 14H84c-7 0-13-6-12-14z" fill="$m"/><ellipse cx="120" cy="64" rx="40" '
    'ry="12" fill="$d"/><path d="M88 62c8-14 20-4 30-14 12 8 24 0 34 14-14 8-48 8-64 0z" fill="$l"/><path d="M78 88h84" '
    'stroke="$p" stroke-width="5"/><path d="M160 84c20 6 20 36 6 44" fill="none" stroke="$d" stroke-width="4"/><path '
    'd="M100 128l12-20 8 12 6-8 14 16z" fill="$l"/>',
    "oars": '<path d="M76 146l72-92M164 146L92 54" stroke="$d" stroke-width="6" stroke-linecap="round"/><path d="M136 '
    '58l22-30c10-8 26 4 20 16l-22 30z" fill="$m"/><path d="M104 58L82 28c-10-8-26 4-20 16l22 30z" fill="$m"/><path '
    'd="M162 34l10 8M78 34l-10 8" stroke="$p" stroke-width="6"/><path d="M70 154l8-10M170 154l-8-10" stroke="$p" '
    'stroke-width="9" stroke-linecap="round"/>',
    "ball": '<circle cx="120" cy="94" r="50" fill="$m"/><path d="M120 44v100M70 94h100M84 60c24 20 24 48 0 68M156 60c-24 '
    '20-24 48 0 68" fill="none" stroke="$d" stroke-width="4"/><circle cx="102" cy="74" r="7" fill="$l" opacity=".6"/>',
    "parcel": '<path d="M120 42l60 26v54l-60 26-60-26V68z" fill="$m"/><path d="M120 94l60-26v54l-60 26z" fill="$d"/><path '
    'd="M60 68l60-26 60 26-60 26z" fill="$l"/><path d="M90 55l60 26v18" fill="none" stroke="$p" stroke-width="8"/>',
}  # fmt: skip

#: Covers of books; one is chosen by the seed. They fill the front between (84, 34) and (160, 146).
COVERS: tuple[str, ...] = (
    '<circle cx="122" cy="78" r="22" fill="$p"/><path d="M84 112c20-16 30 8 46-6 12-10 20-6 30 0v40H84z" fill="$d"/>',
    '<path d="M84 54h76M84 66h76M84 78h76M84 90h76" stroke="$l" stroke-width="5"/><circle cx="122" cy="72" r="18" '
    'fill="$p"/>',
    '<path d="M102 62l20-14 20 14-6 24h-28z" fill="none" stroke="$l" stroke-width="3"/><g fill="$p"><circle cx="102" '
    'cy="62" r="5"/><circle cx="122" cy="48" r="5"/><circle cx="142" cy="62" r="5"/><circle cx="136" cy="86" r="5"/>'
    '<circle cx="108" cy="86" r="5"/></g><path d="M102 62h40M122 48l14 38M122 48l-14 38M102 62l34 24M142 62l-34 24" '
    'stroke="$l" stroke-width="1.500"/>',
    '<path d="M84 104l22-34 16 22 12-16 26 28v42H84z" fill="$d"/><path d="M106 70l8 11-10 5-6-3z" fill="$l"/><circle '
    'cx="142" cy="56" r="9" fill="$p"/>',
    '<path d="M122 98V62M122 80c-16 0-20-12-20-20 14 0 20 8 20 20zM122 72c14 0 18-10 18-18-12 0-18 8-18 18z" '
    'fill="$p" stroke="$l" stroke-width="3"/>',
    '<path d="M84 34h76v22H84zM84 78h76v11H84z" fill="$d"/><path d="M84 62h76" stroke="$p" stroke-width="5"/>',
    '<path d="M96 92a26 26 0 0 1 52 0M106 92a16 16 0 0 1 32 0" fill="none" stroke="$l" stroke-width="5"/><circle '
    'cx="122" cy="92" r="6" fill="$p"/>',
)
