"""Small templates, one per language feature; each must do exactly what jinja2 does, errors too."""

_EXPRESSIONS = r"""
none
true ~ false ~ none
1
-1
+1
1.0
1e16
1e15
123456789012345678
0.1 + 0.2
1e-5
0.0001
-0.0
1e22
1_000
0x1F
0b101 + 0o17
1e400
1 + true
7 / 2
8 / 2
7 // 2
-7 // 2
7 % 3
-7 % 3
7 % -3
7.5 % 2
-7.5 // 2
2 ** 10
2 ** -1
2 ** 0.5
-2 ** 2
2 ** 3 ** 2
1 / 0
1 % 0
1.0 // 0
'a' + 'b'
'a' + 1
'a' ~ 1 ~ none
'ab' * 3
3 * 'ab'
'ab' * -1
[1, 2] + [3]
[1] * 3
(1,) + (2,)
[1] + (2,)
(1,)
()
(1, 'a', none, true, 1.5)
[]
{}
{'a': 1, 'b': [1, 2], 3: 'x', none: true}
{'a': 1, 'a': 2}
{[1]: 2}
'it\'s'
["it's", 'say "hi"', 'both \' and "']
['\n\t\r\\', '\x00\x7f', 'é', '\u200b', '\U0001F389', '\xa0', '日本']
'\q\é'
'a' 'b'
1 < 2 < 3
1 < 2 > 3
1 == 1.0
true == 1
'1' == 1
'a' < 'b'
'a' < 1
none < 1
[1, 2] < [1, 3]
[1, 2] == [1, 2]
(1, 2) == [1, 2]
{'a': 1} == {'a': 1.0}
1 in [1, 2]
1 not in [1, 2]
'a' in 'abc'
1 in 'abc'
'a' in {'a': 1}
[1] in {'a': 1}
'x' in missing
missing in 'x'
missing in ['x']
1 in none
not 1
not not 1
1 and 2
0 and 2
0 or 'x'
'' or none
1 if true
1 if false
(1 if false) is defined
1 if true else 2
1 if false else 2 if false else 3
missing
missing is defined
missing.x
missing['x']
missing()
missing + 1
missing ~ 'x'
missing == missing2
missing | length
missing | list
missing | default('d')
missing | upper
missing | int
missing | string
missing | tojson
-missing
missing < 1
missing[1:]
none | default('d')
none | default('d', true)
'' | default('d', boolean=true)
none.x
none['x']
none.x.y
none | length
none | upper
none | trim
'abc'[0]
'abc'[-1]
'abc'[5]
'abc'[5].x
'abc'['x']
'日本語'[1]
'日本語'[1:]
'日本語'[::-1]
'abcdef'[1:4]
'abcdef'[-3:]
'abcdef'[:-1]
'abcdef'[::2]
'abcdef'[4:1:-1]
'abcdef'[10:]
'abcdef'[-10:2]
'abcdef'[::0]
[1, 2, 3][1:]
[1, 2, 3][-1]
[1, 2, 3][3]
[1, 2, 3].0
[1, 2, 3]['0']
(1, 2, 3)[:2]
[1, 2, 3][true]
[1, 2][1.0]
{'a': 1}.a
{'a': 1}['a']
{'a': 1}.b
{'a': 1}['b'].c
{1: 2}[1.0]
{'items': 1}['items']
{'a': 1, 'b': 2}.items() | list
{'a': 1, 'b': 2}.keys() | list
{'a': 1, 'b': 2}.values()
{'a': 1}.keys()
{'a': 1}.items()
{'a': 1}.get('a')
{'a': 1}.get('b')
{'a': 1}.get('b', 5)
{'a': 1}.get()
{'a': 1}.get('a', 1, 2)
{'a': 1}.copy()
{'a': 1}.pop('a')
{'a': 1}.update({'b': 1})
{'pop': 1}.pop
{'pop': 1}['pop']
[1].append(2)
[1, 2, 1].count(1)
[1, 2, 1].index(2)
[1, 2, 1].index(5)
''.__class__
''.__class__.__mro__
''['__class__']
{'__class__': 3}['__class__']
{'__x': 3}.__x
{'_x': 3}._x
(1).real
range(3)
range(3) | list
range(1, 10, 3) | list
range(5, 0, -2) | list
range(0)
range(3)[1]
range(10)[2:5]
range(3) == range(0, 3)
range(1, 2, 0)
range(100001)
range('a')
namespace(a=1).a
namespace(a=1).b
namespace({'a': 1}, b=2).b
namespace(_a=1)
dict(a=1, b=2)
dict([('a', 1)], b=2)
dict({'a': 1})
dict(1)
'a,b,c'.split(',')
'a,b,c'.split(',', 1)
'a b  c '.split()
' a b  c '.split(none, 1)
'a,b,c'.rsplit(',', 1)
'  a b c'.rsplit(none, 1)
'abc'.split('')
'abc'.split('x')
''.split()
''.split(',')
'a\nb\r\nc\x0bd\u2028e'.splitlines()
'a\nb\n'.splitlines(true)
'a=b=c'.partition('=')
'a=b=c'.rpartition('=')
'abc'.partition('x')
'abc'.rpartition('x')
'  x '.strip()
'  x '.lstrip()
'  x '.rstrip()
'xxaxx'.strip('x')
'日a本'.strip('日本')
'xyxaxy'.lstrip('xy')
'\u3000x\xa0\x1f'.strip()
'x'.strip(1)
'x'.strip('')
'abc'.replace('b', 'X')
'aaa'.replace('a', 'b', 2)
'abc'.replace('', '-')
'abc'.replace('', '-', 2)
'日本'.replace('', '-')
'abc'.startswith('a')
'abc'.startswith(('x', 'a'))
'abc'.startswith('b', 1)
'abc'.startswith(['a'])
'abc'.endswith('bc')
'abc'.endswith('b', 0, 2)
'abc'.startswith('', 4)
'abcabc'.find('c')
'日本日'.find('日', 1)
'abcabc'.rfind('c')
'abc'.find('x')
'abc'.index('x')
'aXbXc'.count('X')
'aaa'.count('aa')
'abc'.count('')
', '.join(['a', 'b'])
', '.join([1])
''.join('abc')
'Hello World'.upper()
'Hello World'.lower()
'hELLO wORLD'.title()
"they're bill's".title()
'hELLO'.capitalize()
'Hello'.swapcase()
'straße ﬁ ŉ ǰ'.upper()
'İI'.lower()
'ΑΣ ΑΣΑ Σ'.lower()
'ǆ ß'.title()
'ßa'.capitalize()
'abc'.isalpha()
'ab1'.isalnum()
'12'.isdigit()
'²'.isdigit()
'²'.isdecimal()
'½'.isnumeric()
''.isdigit()
' \t'.isspace()
'ABC1'.isupper()
'abc1'.islower()
'Abc Def'.istitle()
'a_1'.isidentifier()
'1a'.isidentifier()
'é'.isascii()
'a\n'.isprintable()
'x'.center(5) ~ '|'
'x'.center(4) ~ '|'
'xy'.center(5, '-')
'x'.ljust(3, '.')
'x'.rjust(3, '.')
'42'.zfill(5)
'-42'.zfill(5)
'prefix-x'.removeprefix('prefix-')
'x-suffix'.removesuffix('-suffix')
'a\tb'.expandtabs(4)
'{} {}'.format(1, 'a')
'{0} {1} {0}'.format(1, 'a')
'{a} {b[x]} {b.x}'.format(a=1, b={'x': 2})
'{{}}'.format()
'{'.format()
'}'.format()
'{} {0}'.format(1)
'{!r:>8}|'.format('a')
'{!s}'.format(none)
'{:>5}|{:<5}|{:^5}|{:*^7}'.format('a', 'b', 'c', 'd')
'{:5}|{:5}|{:05d}|{:+}|{: }'.format('a', 1, 42, 3, 4)
'{:,} {:_} {:x} {:#x} {:b} {:o} {:X} {:c}'.format(1234567, 1234567, 255, 255, 5, 8, 255, 65)
'{:.2f} {:.3e} {:g} {:%} {:.1%}'.format(3.14159, 1234.5, 0.00001, 0.25, 0.256)
'{:10.3f}|{:<10.3f}|{:+.1f}'.format(3.14159, 3.14159, 2)
'{:.3}'.format('abcdef')
'{:d}'.format('a')
'{:d}'.format(1.5)
'{:s}'.format(1)
'{:>{w}}'.format('a', w=4)
'{}'.format([1, 'a'])
'{:5}'.format(none)
'{}'.format()
'{x}'.format(y=1)
'{0.__class__}'.format('a')
'{:.4} {:.4} {}'.format(1234567.0, 12.0, 1e20)
'{:,.2f}'.format(1234567.891)
'{:010,}'.format(1234)
'%s' % 'a'
'%s %d %r' % ('a', 3, 'b')
'%5s|%-5s|%05d|%+d|% d' % ('a', 'b', 42, 3, 4)
'%.2f %e %g %i' % (3.14159, 12345.678, 0.0001, 3.9)
'%x %X %o %c %%' % (255, 255, 8, 'x')
'%(a)s-%(b)d' % {'a': 1, 'b': 2}
'%s' % (1, 2)
'%s %s' % 1
'%d' % 'a'
'%q' % 1
'%' % 1
'%s' % none
'%s' % [1, 2]
'%.3s|' % 'abcdef'
'%*d' % (5, 42)
'%s' | format('x')
'%(a)s' | format(a=1)
'abc' | upper
'ABC' | lower
'hello world-foo (bar)' | title
"it's o'neil {x [y <z" | title
'hELLO' | capitalize
'  x ' | trim
'xxaxx' | trim('x')
5 | trim
'a b c' | replace(' ', '-')
'aaa' | replace('a', 'b', 2)
5 | replace(5, 6)
[1, 2, 3] | length
'日本' | length
{'a': 1} | length
5 | length
range(4) | length
(x for x in [1])
[1, 2, 3] | first
[] | first
'abc' | first
{'a': 1} | first
[1, 2, 3] | last
'日本' | last
[] | last
{'a': 1, 'b': 2} | last
5 | first
[1, 2] | join
[1, 'a', none] | join(', ')
[{'n': 1}, {'n': 2}] | join(',', attribute='n')
'abc' | join('-')
missing | join('x')
'abc' | list
{'a': 1} | list
'abc' | reverse
[1, 2, 3] | reverse | list
5 | reverse
'5' | int
'5.7' | int
' 5 ' | int
'abc' | int
'abc' | int(7)
'0x1f' | int(0, 16)
'1f' | int(base=16)
'1_000' | int
5.9 | int
-5.9 | int
none | int
true | int
'1.5' | float
'abc' | float
'abc' | float(2.5)
'1e3' | float
'inf' | float
'nan' | float
5 | float
none | float
[1] | int
3.7 | round
3.14159 | round(2)
2.5 | round
3.5 | round
2.675 | round(2)
42 | round
1234 | round(-2)
3.2 | round(0, 'ceil')
3.7 | round(0, 'floor')
3.14159 | round(2, 'ceil')
3 | round(method='bad')
-5 | abs
-5.5 | abs
'a' | abs
[1, 2, 3] | sum
[1.5, 2] | sum
[{'a': 1}, {'a': 2}] | sum(attribute='a')
[1] | sum(start=10)
['a'] | sum
[3, 1, 2] | sort
['b', 'A', 'c'] | sort
['b', 'A', 'c'] | sort(case_sensitive=true)
[3, 1, 2] | sort(reverse=true)
[{'n': 2}, {'n': 1}] | sort(attribute='n')
[{'n': 2, 'm': 1}, {'n': 1, 'm': 2}, {'n': 1, 'm': 1}] | sort(attribute='n,m')
[1, 'a'] | sort
[none, 1] | sort
[3, 1, 2] | min
[3, 1, 2] | max
['b', 'A'] | min
[] | min
[] | max is defined
[{'n': 2}, {'n': 1}] | min(attribute='n')
[1, 2, 1, 3] | unique | list
['a', 'A', 'b'] | unique | list
['a', 'A', 'b'] | unique(true) | list
[{'a': 1}, {'a': 1}] | unique(attribute='a') | list
[[1]] | unique | list
{'b': 1, 'A': 2, 'c': 3} | dictsort
{'b': 1, 'A': 2} | dictsort(true)
{'b': 1, 'A': 2} | dictsort(by='value')
{'b': 1, 'A': 2} | dictsort(reverse=true)
{'b': 1, 1: 2} | dictsort
[1] | dictsort
{'a': 1, 'b': 2} | items | list
[1] | items | list
missing | items | list
[1, 2, 3, 4, 5] | batch(2) | list
[1, 2, 3, 4, 5] | batch(2, 'x') | list
[1, 2, 3, 4, 5] | slice(2) | list
[1, 2, 3, 4, 5] | slice(3, 'x') | list
[{'k': 'a', 'v': 1}, {'k': 'B', 'v': 2}, {'k': 'a', 'v': 3}] | groupby('k')
[{'k': 'a', 'v': 1}, {'v': 2}] | groupby('k', default='z')
['a', 'b'] | map('upper') | list
[{'a': {'b': 1}}, {'a': {'b': 2}}] | map(attribute='a.b') | list
[{'a': 1}, {}] | map(attribute='a', default=0) | list
[[1, 2], [3, 4]] | map(attribute=0) | list
[[1, 2], [3, 4]] | map('first') | list
['a'] | map('nofilter') | list
[1, 2] | map | list
[' a ', 'b'] | map('trim') | join
['a', 'b'] | map('replace', 'a', 'X') | list
[1, 2, 3, 4] | select('odd') | list
[1, 0, 2, none] | select | list
[1, 2, 3, 4] | reject('even') | list
[1, 2, 3] | select('>', 1) | list
[1, 2, 3] | select('in', [1, 3]) | list
[1, 2, 3] | select('divisibleby', 3) | list
['a', none] | select('none') | list
[1] | select('notest') | list
[{'a': 1}, {'a': 0}, {}] | selectattr('a') | list
[{'a': 1}, {'a': 2}] | selectattr('a', 'equalto', 2) | list
[{'a': 1}, {'a': 2}] | selectattr('a', '==', 2) | list
[{'a': 1}, {}] | rejectattr('a', 'defined') | list
[{'a': 1}] | selectattr | list
missing | map('upper') | list
none | map('upper') | list
5 | map('upper') | list
{'a': 'b'} | tojson
[1, 2.5, 1e16, none, true, 'é', '<>&\'"', '\n\x01\x7f'] | tojson
{'a': [], 'b': {}, 'c': [1, {'d': 2}]} | tojson(indent=2)
{'b': 1, 'a': 2} | tojson(sort_keys=true)
'é🎉' | tojson(ensure_ascii=true)
{'a': 1, 'b': [1]} | tojson(separators=(',', ':'))
{'a': 1} | tojson(indent='\t')
{'a': [1]} | tojson(indent=0)
{1: 2, none: 3, true: 4, 1.5: 5} | tojson
{(1, 2): 3} | tojson
(1, 2) | tojson
range(3) | tojson
missing | tojson
namespace(a=1) | tojson
'nan' | float | tojson
'a\nb\n\nc' | indent
'a\nb\n\nc' | indent(2, true)
'a\nb\n\nc' | indent(width=2, blank=true)
'a\nb' | indent('> ')
'a\n' | indent ~ '|'
'' | indent ~ '|'
5 | indent
'foo bar baz' | truncate(7)
'foo bar baz qux' | truncate(9)
'foo bar baz qux' | truncate(9, true)
'foo bar baz qux' | truncate(9, false, '…', 0)
'foo' | truncate(2)
'foo bar, baz' | wordcount
'x' | center(5) ~ '|'
'<a href="x">\'&' | escape
'<a>' | e | e
'<a>' | safe
'<a>' | safe + '<b>'
'<a>' + ('<b>' | safe)
'<a>' | safe ~ '<b>'
('<a>' | safe).upper() + '<'
('<a>' | safe)[1:] + '<'
('<a>' | safe) | upper + '<'
('a,b' | safe).split(',')
('<%s>' | safe) % '<b>'
('<{}>' | safe).format('<b>')
('x' | safe).join(['<', '>'])
['<a>' | safe, '<'] | join
('a' | safe) | replace('a', '<')
('a' | safe).replace('a', '<')
('a' | safe) | string + '<'
'<' | forceescape
('<' | safe) | forceescape
'a b/c?é' | urlencode
123456 | filesizeformat
1 | filesizeformat
1048576 | filesizeformat(true)
{'a': 1} | attr('a')
1 is odd
2 is even
6 is divisibleby 3
6 is divisibleby(4)
1 is number
1.5 is number
true is number
'1' is number
1 is integer
true is integer
1.0 is float
'a' is string
[] is sequence
'a' is sequence
{} is sequence
5 is sequence
{}.keys() is sequence
[] is iterable
5 is iterable
missing is iterable
missing is sequence
{} is mapping
[] is mapping
none is none
missing is none
true is boolean
1 is true
true is true
false is false
0 is false
'abc' is lower
'ABC' is upper
1 is sameas 1
true is sameas true
none is sameas none
1 is eq 1
1 is ne 1
1 is lt 2
2 is ge 2
1 is in [1, 2]
'a' is in 'abc'
range is callable
5 is callable
'upper' is filter
'odd' is test
'x' is escaped
1 is not odd
1 is not none and 2 is none
x is defined and x
(missing is defined) or 5
1 is notatest
1 | nofilter
(1 | nofilter) if false else 2
1 is defined if true else 2
cycler('a', 'b').next()
cycler()
joiner()()
raise_exception('boom')
raise_exception()
strftime_now('%Y-%m-%d %H:%M:%S %A %B %j %p %I %y %%')
strftime_now('%d %b %Y %f %z|%Z|')
strftime_now()
lower
loop
caller
messages | length
messages[0][1:]
bos_token['a':]
messages[0].role
messages[0]['content']
messages | map(attribute='role') | join(',')
messages | tojson
messages | string
messages
tools
tools | tojson(indent=4)
messages | selectattr('role', 'equalto', 'user') | list | length
(messages | last).role
messages[-1:][0].role
bos_token ~ eos_token
undefined_token is defined
[1, 2, 3,]
{'a': 1,}
(1, 2,)
1 if
1 +
(1
[1
{'a'
{'a': }
'abc
a b
a.
a.1
a[
1..2
a..b
a|
a is
@
a!b
a ? b
1 == == 2
not
{'a': 1}['a']['b']
1.5.x
'x'.y.z
[[1, 2], [3]] | sum(start=[])
'a' is eq('a')
{'a':{'b':{'c':1}}}.a.b.c
"%s" % ("a",)
[1,2,3] | select("odd") | first
"a" "b" ~ "c"
1 ~ 2 + 3
2 * 3 ~ 4
1 - 2 - 3
2 ** 2 * 3
- 2 * 3
-'a'
+'a'
not 1 == 2
1 in [1] == true
'a' if missing else 'b'
foo(1, *[2, 3], **{'a': 1})
dict(a=1, **{'b': 2})
dict(a=1, a=2)
range(*[1, 4]) | list
'{}{}'.format(*'ab')
[1, 2, 3][1,2]
9223372036854775807 + 0
"""

SNIPPETS = ["{{ " + line + " }}" for line in _EXPRESSIONS.strip().split("\n")]

SNIPPETS += [
    # whitespace control
    "a\n{% if true %}\nb\n{% endif %}\nc\n",
    "a\n  {% if true %}\n  b\n  {% endif %}\nc",
    "a\n  {%- if true -%}\n  b\n  {%- endif -%}\nc",
    "a\n  {%+ if true +%}\n  b\n  {%+ endif +%}\nc",
    "a {{- ' b ' -}} c", "a \n {{- 1 }}\n", "{{ 1 }}\n\n", "a\n\n\n", "\n", "", " ",
    "x{# c #}\ny", "  {# c #}\n  y", "x {#- c -#} y", "x\n  {#+ c +#}\n y", "{# unclosed", "{#-#}x",
    "{#a#b#}c", "{##}", "x  {% raw %}\n {{ a }} {% endraw %}\n y", "{%- raw -%} {{ x }} {%- endraw -%} z",
    "{% raw %}unclosed", "  {% raw %}a{% endraw %}  \n", "{%raw%}{%raw%}{%endraw%}",
    "a\r\nb\rc\r\n", "\t{% set x = 1 %}\t\n{{ x }}", "x {% set y = 1 %}  \nz", "{%set x=1%}{{x}}",
    "{{'a'}}\n{{'b'}}", "{% if true %}x{% endif %}  {% if true %}\ny{% endif %}",
    "{{", "{%", "{{ 1", "{% if", "{{ 1 %}", "{% if 1 }}", "{", "}}", "%}", "#}", "{ {", "{{}}", "{%%}",
    "{{ '}}' }}", "{{ {'a': {}} }}", "{{ {'a': {'b': 1}}}}", "{{-1}}", "{{+1}}", "{{ -1 }}", "{{- -1 -}}",
    "\u00a0{% if true %}x{% endif %}", "a\u3000\n{%- if true %}x{% endif %}", "{{ 1 -}}\n\n x",
    "{%- for i in [1,2] -%}\n {{ i }} \n{%- endfor -%}", "{% for i in [1,2] %}{{ i }}\n{% endfor %}\n",
    # statements
    "{% if 0 %}a{% elif 1 %}b{% else %}c{% endif %}", "{% if 0 %}a{% elif 0 %}b{% else %}c{% endif %}",
    "{% if 1 %}a{% else %}b", "{% endif %}", "{% if %}a{% endif %}", "{% foo %}", "{% if 1: %}x{% endif %}",
    "{% if 1 %}a{% elif %}{% endif %}", "{% else %}", "{% if 1, 2 %}x{% endif %}",
    "{% for i in [1, 2, 3] %}{{ loop.index }}{{ loop.index0 }}{{ loop.revindex }}{{ loop.revindex0 }}"
    "{{ loop.first }}{{ loop.last }}{{ loop.length }}{{ loop.depth }}{{ loop.depth0 }};{% endfor %}",
    "{% for i in 'ab' %}{{ loop.previtem }}{{ i }}{{ loop.nextitem }}{{ loop.cycle('x', 'y') }}{% endfor %}",
    "{% for i in [1, 1, 2] %}{{ loop.changed(i) }}{% endfor %}", "{% for i in [] %}a{% else %}b{% endfor %}",
    "{% for i in [1] %}a{% else %}b{% endfor %}", "{% for i in [1, 2, 3, 4] if i is even %}{{ i }}{{ loop.index }}"
    "{{ loop.length }}{% endfor %}", "{% for i in [1, 2] if false %}a{% else %}none{% endfor %}",
    "{% for a, b in [(1, 2), [3, 4]] %}{{ a }}-{{ b }};{% endfor %}", "{% for a, b in [(1, 2, 3)] %}{% endfor %}",
    "{% for (a, b), c in [((1, 2), 3)] %}{{ a }}{{ b }}{{ c }}{% endfor %}", "{% for a in 5 %}{% endfor %}",
    "{% for k, v in {'a': 1, 'b': 2}.items() %}{{ k }}={{ v }};{% endfor %}",
    "{% for k in {'a': 1, 'b': 2} %}{{ k }}{% endfor %}", "{% for i in missing %}x{% else %}y{% endfor %}",
    "{% for i in none %}x{% endfor %}", "{% for loop in [1] %}{% endfor %}", "{% for i in 1, 2 %}{{ i }}{% endfor %}",
    "{% for i in range(5) %}{% if i == 1 %}{% continue %}{% endif %}{% if i == 3 %}{% break %}{% endif %}{{ i }}{% endfor %}",
    "{% break %}", "{% if 1 %}{% continue %}{% endif %}",
    "{% for i in [1, 2] %}{% for j in [1, 2] %}{% if j == 2 %}{% break %}{% endif %}{{ i }}{{ j }}{% endfor %}{% endfor %}",
    "{% for i in [1] %}{% macro f() %}{% break %}{% endmacro %}{% endfor %}",
    "{% for n in [{'v': 1, 'c': [{'v': 2, 'c': []}]}] recursive %}{{ n.v }}{{ loop.depth }}[{{ loop(n.c) }}]{% endfor %}",
    "{% for n in [[1], [2, [3]]] recursive %}{% if n is iterable %}({{ loop(n) }}){% else %}{{ n }}{% endif %}{% endfor %}",
    "{% for n in [1] %}{{ loop([1]) }}{% endfor %}", "{% for n in [1] %}{{ loop }}{% endfor %}",
    "{% for i in [1, 2] %}{% set x = i %}{% endfor %}{{ x }}", "{% set x = 0 %}{% for i in [1, 2] %}{% set x = x + i %}{{ x }}{% endfor %}{{ x }}",
    "{% if true %}{% set x = 1 %}{% endif %}{{ x }}", "{% if false %}{% set bos_token = 1 %}{% endif %}{{ bos_token }}",
    "{% set ns = namespace(x=0) %}{% for i in [1, 2] %}{% set ns.x = ns.x + i %}{% endfor %}{{ ns.x }}",
    "{% set ns = namespace() %}{% set ns.x = 1 %}{{ ns.x }}{{ ns }}", "{% set x = {} %}{% set x.y = 1 %}",
    "{% set missing.y = 1 %}", "{% set ns = namespace() %}{% set ns._x = 1 %}", "{% set a, b = 1, 2 %}{{ a }}{{ b }}",
    "{% set a, b = [1] %}", "{% set a = 1, 2 %}{{ a }}", "{% set x %}a{{ 1 }}b{% endset %}{{ x }}|{{ x | upper }}",
    "{% set x | upper %}abc{% endset %}{{ x }}", "{% set x | replace('a', 'b') | upper %}abc{% endset %}{{ x }}",
    "{% set 1 = 2 %}", "{% set true = 2 %}", "{% set x %}", "{% set x = %}", "{% set x.y %}a{% endset %}",
    "{% set ns = namespace() %}{% set ns.y %}a{% endset %}{{ ns.y }}",
    "{% macro f(a, b=2, c=a) %}{{ a }}{{ b }}{{ c }}{% endmacro %}{{ f(1) }};{{ f(1, 3) }};{{ f(b=4, a=5) }};{{ f() }}",
    "{% macro f(a) %}{{ a }}{% endmacro %}{{ f(1, 2) }}", "{% macro f(a) %}{{ a }}{% endmacro %}{{ f(x=2) }}",
    "{% macro f(a) %}{{ a }}{% endmacro %}{{ f(1, a=2) }}", "{% macro f() %}{{ varargs }}{{ kwargs }}{% endmacro %}{{ f(1, 2, x=3) }}",
    "{% macro f(a, b) %}{{ b is defined }}{{ b.x }}{% endmacro %}{{ f(1) }}", "{% macro f(a=1, b) %}{% endmacro %}",
    "{% macro f(x) %}[{{ caller() }}]{% endmacro %}{% call f(1) %}body{% endcall %}",
    "{% macro f() %}{{ caller(1, 2) }}{% endmacro %}{% call(a, b) f() %}{{ a }}{{ b }}{% endcall %}",
    "{% macro f() %}x{% endmacro %}{% call f() %}body{% endcall %}", "{% macro f() %}{{ caller() }}{% endmacro %}{{ f() }}",
    "{% call 1 %}x{% endcall %}", "{% macro f() %}{{ caller is defined }}{% endmacro %}{{ f() }}",
    "{% macro f(caller=none) %}{{ caller is none }}{% endmacro %}{{ f() }}",
    "{% macro f(n) %}{% if n > 0 %}{{ n }}{{ f(n - 1) }}{% endif %}{% endmacro %}{{ f(3) }}",
    "{% set x = 1 %}{% macro f() %}{{ x }}{% set x = 2 %}{{ x }}{% endmacro %}{{ f() }}{{ x }}",
    "{% macro f() %}{{ g() }}{% endmacro %}{% macro g() %}g{% endmacro %}{{ f() }}", "{{ f() }}{% macro f() %}x{% endmacro %}",
    "{% macro f() %}{{ y }}{% endmacro %}{% set y = 5 %}{{ f() }}", "{% macro f() %}{% endmacro %}{{ f.name }}{{ f.arguments }}",
    "{% macro f(a, b) %}{% endmacro %}{{ f.arguments }}{{ f.catch_kwargs }}{{ f.caller }}",
    "{% for i in [1] %}{% macro f() %}{{ i }}{% endmacro %}{{ f() }}{% endfor %}", "{% macro f(a, a) %}{% endmacro %}",
    "{% macro f() %}  x  {% endmacro %}[{{ f() | trim }}]", "{% macro f() %}<{% endmacro %}{{ f() ~ '<' }}",
    "{% filter upper %}abc{{ 'd' }}{% endfilter %}", "{% filter upper | replace('A', 'x') %}abc{% endfilter %}",
    "{% filter nofilter %}x{% endfilter %}", "{% with a = 1, b = 2 %}{{ a }}{{ b }}{% endwith %}{{ a }}",
    "{% with %}{% set x = 1 %}{{ x }}{% endwith %}{{ x }}", "{% set a = 1 %}{% with a = 2, b = a %}{{ a }}{{ b }}{% endwith %}",
    "{% print 1, 2 %}", "{% generation %}abc{{ 1 }}{% endgeneration %}", "{% generation %}{% set x = 1 %}{% endgeneration %}{{ x }}",
    "{% for i in [1, 2] %}{% generation %}{{ i }}{{ loop.index }}{% endgeneration %}{% endfor %}",
    "{% for i in [1] %}{% generation %}{% break %}{% endgeneration %}{% endfor %}", "{% generation %}",
    "{%- generation -%}  a  {%- endgeneration -%}", "{% if x is defined %}{{ 1 | nofilter }}{% endif %}ok",
    "{% if x is defined %}{% for i in [1] %}{{ 1 | nofilter }}{% endfor %}{% endif %}ok",
    "{% for i in [1] %}{{ 'x' if i else (1 | nofilter) }}{% endfor %}", "{% if x is notatest %}{% endif %}",
    "{% set it = [1, 2] | map('string') %}{{ it | list }}{{ it | list }}", "{% set it = ['a'] | select %}{{ it | length }}",
    "{% set it = [1, 2, 3] | select('odd') %}{% for i in it %}{{ i }}{{ loop.last }}{{ loop.length }}{% endfor %}{% for i in it %}{{ i }}{% endfor %}",
    "{% set it = {'a': 1} | items %}{{ 'a' in it }}{% if it %}y{% endif %}",
    "{% set it = [1, 2] | reverse %}{% for i in it %}{{ i }}{% endfor %}{{ it | list }}",
    "{% set it = 5 | map('upper') %}ok", "{% set ns = namespace(n=0) %}{% for i in [1, 2, 3] if i != ns.n %}{% set ns.n = i + 1 %}{{ i }}{% endfor %}",
    "{% set c = cycler('a', 'b') %}{{ c.next() }}{{ c.next() }}{{ c.next() }}{{ c.current }}{% set _ = c.reset() %}{{ c.next() }}",
    "{% set j = joiner('; ') %}{{ j() }}a{{ j() }}b", "{% for x, y in [{'a': 1}.items() | first] %}{{ x }}{{ y }}{% endfor %}",
    "{% for g in [{'k': 1, 'v': 'a'}, {'k': 1, 'v': 'b'}] | groupby('k') %}{{ g.grouper }}{{ g.list | map(attribute='v') | join }}{% endfor %}",
    "{% for k, l in [{'k': 1}] | groupby('k') %}{{ k }}{{ l }}{% endfor %}", "{% set loop = 5 %}{{ loop }}",
    "{% for i in [1] %}{% set loop = 5 %}{{ loop }}{% endfor %}", "{% for i in [1, 2] %}{{ x }}{% set x = i %}{% endfor %}",
    "{% set x = 1 %}{% for x in [5] %}{{ x }}{% endfor %}{{ x }}", "{% for i in [1] %}{% if true %}{% set y = 2 %}{% endif %}{{ y }}{% endfor %}{{ y }}",
    "{% set messages = messages[1:] %}{{ messages | length }}", "{% set f = range %}{{ f(2) | list }}",
    "{% set x = 'a' %}{% set x = x ~ 'b' %}{{ x }}", "{{ [1,2,3] | select('odd') | map('string') | join('-') }}",
    "{% set d = {'a': 1} %}{% set d = dict(d, b=2) %}{{ d }}", "{% set ns = namespace(l=[]) %}{% for i in 'ab' %}{% set ns.l = ns.l + [i] %}{% endfor %}{{ ns.l }}",
    "{% if not (x is defined and x is not none) %}a{% endif %}", "{% if messages[0]['role'] == 'user' and messages | length > 0 %}a{% endif %}",
    "{%- for m in messages %}{{ m['role'] ~ ': ' ~ (m['content'] | string) | trim ~ '\n' }}{% endfor %}",
    "{% for m in messages %}{% if (m.role == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('alternate') }}{% endif %}{{ m.role }}{% endfor %}",
    "{{ (messages | selectattr('role', 'eq', 'user') | first).content }}", "{{ messages | rejectattr('role', 'in', ['user']) | map(attribute='role') | list }}",
    "line1\nline2 {{ 1 / 0 }}", "{% set x = {'a': [1, {'b': 'c'}]} %}{{ x.a[1].b }}{{ x['a'][0] }}{{ x.a[1]['b'] | upper }}",
    "{% for c in '日本' %}{{ loop.index }}{{ c }}{% endfor %}", "{{ 'a' if 1 is odd }}{{ 'b' if 2 is odd else '' }}",
    "{% set x = [] %}{% set _ = x.append(1) %}{{ x }}", "{{ {'a': 1}.items() | list | tojson }}", "{{ ['a', 'b'] | join(', ') | upper }}",
    "{{ messages.0.role }}", "{% set m = messages[0] %}{{ m.role }}{{ m.get('tool_calls', []) | length }}{{ m['x'] is defined }}{{ m.x is none }}",
    "{% for tool in tools or [] %}{{ tool | tojson }}{{ tool.function.name if tool.function is defined }}{% endfor %}",
    "{{ strftime_now('%d %b %Y') }}", "{% if strftime_now is defined %}{{ strftime_now('%Y') }}{% endif %}", "{% autoescape true %}x",
]
