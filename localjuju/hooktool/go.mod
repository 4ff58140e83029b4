module localjuju/hooktool

go 1.22
