"""What the reference makes of expressions that chat templates use: tests/goldens/templates/values.json.

    pip install transformers==5.24.0 jinja2==3.1.6
    python tests/reference/templates.py

Each entry is a template and the text it writes for the conversation below, or null for an error.
"""

import json
import pathlib

from transformers.utils.chat_template_utils import _compile_jinja_template

CONVERSATION = {
    "messages": [
        {"role": "user", "content": "hi ab é"},
        {"role": "assistant", "content": "Hello, World"},
    ],
    "tools": None,
    "documents": None,
    "add_generation_prompt": True,
    "bos_token": "<s>",
    "eos_token": "</s>",
}

VALUES = ["none", "'ab'", "''", "1", "1.5", "true", "[1]", "(1, 2)", "{'a': 1}", "nothing", "range(2)"]
TESTS = ["none", "string", "iterable", "sequence", "mapping", "number", "integer", "float", "boolean", "defined",
         "undefined", "true", "false", "callable"]

TEMPLATES = [
    # Formatting with %.
    "{% for m in messages %}{{ '%s: %s\\n' % (m.role, m.content) }}{% endfor %}",
    "{{ '%s' % messages[0].content }}",
    "{{ '%s!' % 'a' ~ 'b' }}", "{{ 'x' ~ '%s!' % 'a' + 'b' }}", "{{ '%-5s|%5s|%05d|%+d' % ('a', 'b', 7, 3) }}",
    "{{ '%d%%' % 50 }}", "{{ '%.2f %e %g' % (3.14159, 12345.678, 0.0001) }}", "{{ '%x %X %o %c' % (255, 255, 8, 'z') }}",
    "{{ '%(role)s=%(content)s' % messages[0] }}", "{{ '%s %s' % ('a',) }}", "{{ '%s' % ('a', 'b') }}", "{{ '%s' % [1, 2] }}",
    "{{ '%s' % none }}|{{ '%s' % true }}|{{ '%s' % 1.0 }}", "{{ '%s' % ('a' if true else 'b') }}",
    "{{ '%s' % 'a' if false else 'c' }}", "{{ '%s-%s' % ('%s' % 'i', 'j' | upper) }}", "{{ 'a %s' % 'b' | upper }}",
    "{{ ('%s' % 'a') | upper }}", "{{ '%s' % messages[0]['role'].upper() }}", "{% set x = '%s' % 'y' %}{{ x }}",
    "{{ '%s %%s' % 'a' % 'b' }}", "{{ '%5.1f|' % 2.25 }}", "{% if '%s' % 'a' == 'a' %}same{% endif %}",
    "{{ 'plain' % () }}", "{{ 'plain' % {} }}", "{{ {'k': '%s' % 'v'}['k'] }}", "{{ ['%s' % 1, '%s' % 2] | join(',') }}",
    # and of numbers.
    "{{ 7 % 3 }} {{ -7 % 3 }} {{ 7 % -3 }} {{ 7.5 % 2 }} {{ 2 * 7 % 4 }} {{ 2 + 7 % 4 }} {{ 7 % 4 * 2 }}", "{{ 7 % 0 }}",
    "{% for m in messages %}{{ loop.index0 % 2 == 0 }}{% endfor %}", "{% if loop is not defined and 4 % 2 == 0 %}even{% endif %}",
    "{{ true % 2 }}", "{{ 2 ** 3 % 5 }}", "{{ 7 // 2 % 2 }}", "{{ 10 - 7 % 4 }}", "{{ 7%4 }}", "{{ [1] % 2 }}", "{{ -7 % 3 - 1 }}",
    "{% if (messages | length) % 2 == 0 %}{{ 'even' }}{%- endif -%}",
    "{% for m in messages %}{% if (m['role'] == 'user') != (loop.index0 % 2 == 0) %}bad{% endif %}{% endfor %}",
    # str.format
    "{{ '{}: {}'.format('a', 1) }}", "{{ '{0}{1}{0}'.format('a', 'b') }}", "{{ '{a} {b:>5}|'.format(a=1, b='x') }}",
    "{{ '{:.2f}'.format(3.14159) }}", "{{ '{:>6}|{:<6}|{:^6}|'.format('a', 'b', 'c') }}", "{{ '{:05d} {:,}'.format(42, 1234567) }}",
    "{{ '{{}} {}'.format(1) }}", "{{ '{m[role]}'.format(m=messages[0]) }}", "{{ '%s, %s' | format('a', 'b') }}",
    # The order of maps.
    "{{ {'b': 1, 'a': 2} | tojson }}", "{% for k, v in {'z': 1, 'a': 2}.items() %}{{ k }}{{ v }} {% endfor %}",
    "{% for k, v in {'z': 1, 'a': 2} | items %}{{ k }}{{ v }} {% endfor %}", "{% for k in {'z': 1, 'a': 2} %}{{ k }}{% endfor %}",
    "{% for k, v in {'z': 1, 'a': 2} | dictsort %}{{ k }}{{ v }} {% endfor %}", "{{ {'z': 1, 'a': 2}.keys() | join(',') }}",
    "{{ {'z': 1, 'a': 2}.values() | list }}", "{{ {'z': {'y': 1, 'b': [{'d': 1, 'c': 2}]}, 'a': 2} | tojson }}", "{{ dict(z=1, a=2) | tojson }}",
    "{{ {'z': 1, 'a': 'b'} }}", "{{ messages[0] | tojson }}",
    # tojson
    "{{ {'b': 'é', 'a': [1, {}]} | tojson(indent=2) }}", "{{ [1, [], {}, 'x'] | tojson(indent=4) }}",
    "{{ {'b': [1, 2], 'a': none} | tojson(separators=(',', ':')) }}", "{{ {'b': [1, 2]} | tojson(separators=(' ;', '='), indent=1) }}",
    "{{ {'b': 1, 'a': {'d': 1, 'c': 2}} | tojson(sort_keys=True) }}", "{{ 'é😀\\n' | tojson(ensure_ascii=True) }}",
    "{{ 'é😀<&>\\'' | tojson(ensure_ascii=False) }}", "{{ 'é' | tojson }}", "{{ 'é' | tojson(true) }}", "{{ [1] | tojson(false, 2) }}",
    "{{ [1] | tojson(unknown=1) }}", "{{ [1.0, 1e16, 1e-7, 0.1, 123456789.125, 1e22, 2e-5] | tojson }}", "{{ {1: 'a', true: 'b'} | tojson }}",
    "{{ [1, 2] | tojson(indent='--') }}", "{{ {'a': 1} | tojson(indent=0) }}", "{{ (1, 2) | tojson }}", "{{ 'a\\x7f\\x1f' | tojson(ensure_ascii=True) }}",
    "{{ {'b': 1, 'a': 2} | tojson(indent=none, sort_keys=false) }}", "{{ 12345678901234567890 | tojson }}",
    # Methods of strings.
    "{{ 'a-b-c'.rsplit('-', 1) }}", "{{ ' a b  c '.rsplit() }}", "{{ 'a b c'.rsplit(none, 1) }}", "{{ 'a=b=c'.partition('=') }}",
    "{{ 'a=b=c'.rpartition('=') }}", "{{ 'abc'.partition('=') }}", "{{ 'abc'.rpartition('=') }}", "{{ '<think>x'.removeprefix('<think>') }}",
    "{{ 'x</s>'.removesuffix('</s>') }}", "{{ 'xa'.removeprefix('a') }}", "{{ 'abc'.index('c') }}", "{{ 'abc'.index('z') }}", "{{ 'abcb'.rindex('b') }}",
    "{{ '42'.zfill(5) }}|{{ '-42'.zfill(5) }}|{{ '+1'.zfill(1) }}", "{{ 'a'.ljust(3) }}|{{ 'a'.rjust(3, '.') }}|{{ 'a'.center(4, '*') }}|{{ 'ab'.center(5, '*') }}",
    "{{ '12'.isdecimal() }} {{ '1a'.isdecimal() }} {{ ''.isdecimal() }}", "{{ 'aBc'.swapcase() }} {{ 'ß'.casefold() }}", "{{ 'a,b,c'.split(',', 1) }}",
    "{{ 'abc'.find('z') }} {{ 'abc'.find('c') }}", "{{ '</think>a</think>b'.split('</think>')[-1].lstrip('\\n') }}", "{{ 'a\\nb\\n'.splitlines() }}",
    "{{ 'Ab'.startswith(('x', 'A')) }}", "{{ messages[0].get('tool_calls', 'none') }}",
    # Filters.
    "{{ 'x' | int }} {{ '7' | int }} {{ ' 7.9 ' | int }} {{ 'ff' | int(base=16) }} {{ 'x' | int(5) }} {{ none | int }} {{ 3.9 | int }} {{ true | int }}",
    "{{ 'x' | float }} {{ '1.5' | float }} {{ 'x' | float(2.5) }} {{ 3 | float }}", "{{ 'one two three four' | truncate(10) }}", "{{ 'one two three four' | truncate(10, true) }}",
    "{{ 'one two three four' | truncate(12, false, '…', 0) }}", "{{ 'short' | truncate(3) }}", "{{ 'a b/ü?&' | urlencode }}", "{{ {'a b': 'c/d', 'e': 1} | urlencode }}",
    "{{ 'ab' | center(6) }}|", "{{ 'one two  three' | wordcount }}", "{{ [3, 1, 2] | sort | join(',') }} {{ [1, 2, 3] | sum }}",
    # Absent tools.
    "{% if tools is iterable and tools|length > 0 %}tools{% else %}none{% endif %}", "{% if tools %}tools{% else %}none{% endif %}",
    "{% if tools is not none and tools is sequence %}a{% else %}b{% endif %}", "{% if messages[0].content is string %}a{% elif messages[0].content is iterable %}b{% endif %}",
    "{% if messages[0].content is iterable and messages[0].content is not string and messages[0].content is not mapping %}parts{% else %}text{% endif %}",
    "{% macro f(x) %}{{ x }}{% endmacro %}{{ f is callable }} {{ f('a') }}",
    # Text left alone.
    "{% raw %}{{ a }} {% b %} {# c #}{% endraw %}|{{ 1 }}", "a {%- raw -%} {{ x }} {%- endraw -%} b", "{% raw %}\n x\n{% endraw %}\ny",
    "{# {% raw %} #}{{ 1 }}{% raw %}{'a'}{% endraw %}{% raw %}%}{% endraw %}", "  {% raw %}x{% endraw %}\n  {% if true %}y{% endif %}", "{% raw %}{{", "{{ '{% raw %}' }}",
    # Line ends.
    "a\r\n{% if true %}\r\n  b\r\n{% endif %}\r\nc\rd{{ 'x\r\ny' }}",
]

TEMPLATES += [
    "{{ %s is %s }}" % (value, test) for value in VALUES for test in TESTS
]


def rendered(template):
    try:
        return _compile_jinja_template(template).render(**CONVERSATION)
    except Exception as error:  # whatever it is, it is an error
        return None


if __name__ == "__main__":
    here = pathlib.Path(__file__).resolve().parent
    out = here.parent / "goldens" / "templates" / "values.json"
    out.parent.mkdir(exist_ok=True)
    lines = [json.dumps([template, rendered(template)], ensure_ascii=False) for template in TEMPLATES]
    out.write_text("[\n" + ",\n".join(lines) + "\n]\n", encoding="utf-8", newline="\n")
