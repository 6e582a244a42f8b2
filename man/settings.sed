# Lines of meerkatd --settings become entries of meerkat.yml(5).
s/\\/\\e/g
s/^([^ ]+) ([^ ]+) ("[^"]*"|[^ ]+) ([^ ]+) - (.*)$/.TP\
\\fB\1\\fR\
\5\
.br\
(\2, default \3, range \4)/
s/, range -\)$/)/
s/, default -([,)])/\1/
